"""The Lambda: events in from SQS and EventBridge, the Glue client, state in DynamoDB, wakes in SQS."""
