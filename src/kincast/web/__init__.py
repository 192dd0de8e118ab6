"""Web: self-contained HTML reports."""
