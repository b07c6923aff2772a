"""The gateway: WebSocket frames in, events out, JSON endpoints, the built-in page, the CLI."""
