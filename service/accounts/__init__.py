"""Who uses the service: tokens, and who may see what. Users themselves are kept in the admin panel."""
