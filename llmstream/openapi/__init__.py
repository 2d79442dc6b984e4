"""The OpenAPI 3.1 document of the HTTP interface, built from the routes, handlers, errors, events and limits in force."""
