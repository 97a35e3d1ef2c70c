"""Three kinds of users, each through a day: ten Glue views, lakehouses, and an alarm at three in the morning."""
