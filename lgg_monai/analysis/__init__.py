"""Pictures and reports made from what runs wrote."""
