-- The raw Ed25519 key that the receipt was verified with: a node that is
-- evicted and enrolled anew has another one.
ALTER TABLE commands ADD COLUMN receipt_key BLOB;
