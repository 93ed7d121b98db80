"""The paper's figures, redrawn from what ``evaluate`` has measured, and the page that shows them."""
