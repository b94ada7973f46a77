"""Every solve kept: what was asked, every path with its scores, every call with its tokens."""
