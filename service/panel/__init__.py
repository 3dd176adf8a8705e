"""The admin panel: every ModelAdmin, its pages, charts and static files. People watch and steer jobs here."""
