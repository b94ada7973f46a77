"""Seeing it run: metrics, spans, and the line that is logged of each request.

All of it is fed with what others make anyway: runs that are over, and requests that were answered.
"""
