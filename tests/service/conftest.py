"""Databases and bundles for the tests of the service."""

from __future__ import annotations

from bundles import arms_folder, bundle_folder, offers_folder, other_folder, reviewed_folder, wide_folder
from databases import empty_url, postgres_server, sqlite_template, store, store_url

__all__ = [
    "arms_folder",
    "bundle_folder",
    "empty_url",
    "offers_folder",
    "other_folder",
    "postgres_server",
    "reviewed_folder",
    "sqlite_template",
    "store",
    "store_url",
    "wide_folder",
]
