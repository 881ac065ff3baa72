"""Buckets over the protocol of Amazon S3 (https://docs.aws.amazon.com/AmazonS3/latest/API/)."""
