"""The admin in a real browser: headless Chromium, driven by Playwright, and real workers beside it."""
