"""What the policy is told: the templates, as constants."""

FORMAT = (
    "You are an excellent math teacher. Solve the problem step by step. "
    "Write each reasoning step on its own line as 'Step k: ...'. "
    "After the last step write one line 'Answer: \\boxed{N}' where N is the final answer alone, "
    "without units."
)

ABSTAINED = "I am not sure enough of any answer to give one."

# StepCo (arXiv 2410.12934), rectification: the path, the step in doubt and its probability are
# shown, and the path is asked for anew. Worded for our step format.
REWRITE = """{question}

Here is an attempt at it:
{path}

The probability that the answer comes out right is {percent} % at step {number}, so that step may \
contain an error. Revise the attempt from step {number} on (step {number} included) so that the \
probability rises. The steps before it are right: repeat them unchanged. Write the whole revised \
attempt in the same format."""
