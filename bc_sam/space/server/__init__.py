"""The server behind the page: uploads, settings, the device."""
