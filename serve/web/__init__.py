"""Web application: routes, WebSocket, live page, schemas, middleware, server."""
