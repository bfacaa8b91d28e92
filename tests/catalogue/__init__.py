"""An app whose models have what models can have: relations, proxies, subclasses, fields of the database's making."""
