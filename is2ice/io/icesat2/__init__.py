"""Readers of ICESat-2 products: ATL03, ATL07 and ATL10."""
