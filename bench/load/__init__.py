"""Load tests against token budgets: is any budget overrun, any token lost, anybody starved?"""
