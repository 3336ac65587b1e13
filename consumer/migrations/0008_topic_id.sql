-- A topic that was deleted and made again under the same name differs from the one before by its id alone: the offsets that are known
-- of one mean nothing in the other. Null where the brokers give no ids, and until a consumer has learnt it.
ALTER TABLE consumer_offsets ADD COLUMN topic_id text;
