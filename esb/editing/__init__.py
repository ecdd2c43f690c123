"""What people edit with: JSON Schemas for editors, drafts of mappings, and what a change of a mapping would change."""
