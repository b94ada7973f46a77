"""The server: HTTP, strategies, engines and budgets; imports point from routes to engines."""
