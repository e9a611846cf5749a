"""What is published: one summary, the page and the terminal's last words made of it."""
