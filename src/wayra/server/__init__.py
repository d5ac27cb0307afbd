"""The HTTP server: one engine behind the APIs people already use. Routes are thin translations into `service`."""
