"""Everything that comes in: messages of both clouds, whom they concern, and what becomes of each."""
