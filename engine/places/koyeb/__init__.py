"""``kind: koyeb``: an organisation at Koyeb (https://www.koyeb.com)."""
