"""The OpenAPI 3.1 document of the HTTP interface, built from its routes, handlers, errors, events and limits."""
