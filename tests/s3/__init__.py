"""What must be so on any S3 server: against moto in `make test`, a real one in `make s3-test`."""
