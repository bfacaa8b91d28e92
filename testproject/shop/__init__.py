"""The shop: customers, their orders, and what billing, loyalty and analytics make of them."""
