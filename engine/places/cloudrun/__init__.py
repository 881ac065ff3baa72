"""``kind: cloudrun``: a project and region of Google Cloud Run."""
