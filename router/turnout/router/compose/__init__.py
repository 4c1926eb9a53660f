"""What compose.yaml runs besides the services: `volumes` before them, `demo` after them."""
