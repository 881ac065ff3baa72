"""``kind: render``: a workspace at Render (https://render.com)."""
