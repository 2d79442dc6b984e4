"""What models wrote as HTML, made on the server: for pages without JavaScript. Needs the extra ``markdown``."""
