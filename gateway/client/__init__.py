"""The `codegen` command as a client of the service's public protocol: HTTP, WebSocket, terminal."""
