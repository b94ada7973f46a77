"""How the verifier's adapter is made: rollouts, labels, training, export, evaluation."""
