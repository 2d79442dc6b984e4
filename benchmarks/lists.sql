-- A large site: 2,000 users, 5,000 conversations, 100,000 messages, 50,000 answers, 1,000,000 events.
SET synchronous_commit = off;

INSERT INTO auth_user
  (password, is_superuser, username, first_name, last_name, email, is_staff, is_active, date_joined)
SELECT '', false, 'user' || i, '', '', '', false, true, now() FROM generate_series(1, 2000) i;

INSERT INTO llmstream_conversation
  (public_id, title, owner_id, anonymous_id, held, model, head, leaf, epoch, created_at, updated_at)
SELECT substr(md5(i::text), 1, 22), 'Conversation about topic ' || i, (SELECT min(id) FROM auth_user) + (i % 2000), '',
  i % 500 = 0, '', 200, 0, 1, made, made
FROM generate_series(1, 5000) i, LATERAL (SELECT now() - (5000 - i) * interval '30 minutes' AS made) AS t;

INSERT INTO llmstream_message
  (public_id, conversation_id, parent_id, role, status, parts, text, author_id, client_id, first_seq, end_seq,
   created_at)
SELECT substr(md5('m' || c.id || '-' || k), 1, 22), c.id, NULL, CASE WHEN k % 2 = 1 THEN 'user' ELSE 'assistant' END,
  'completed', jsonb_build_array(jsonb_build_object('type', 'text', 'text', t)), t, NULL, '', (k - 1) * 10 + 1, k * 10,
  c.created_at + k * interval '1 minute'
FROM llmstream_conversation c, generate_series(1, 20) k, LATERAL (
  SELECT repeat('Sentence about topic ' || c.id || ' and more, number ' || k || '. ',
    CASE WHEN k % 2 = 1 THEN 3 ELSE 18 END) AS t) AS x;

UPDATE llmstream_message m SET parent_id = p.id FROM llmstream_message p
WHERE p.conversation_id = m.conversation_id AND p.first_seq = m.first_seq - 10;

UPDATE llmstream_conversation c SET leaf = m.id FROM llmstream_message m
WHERE m.conversation_id = c.id AND m.first_seq = 191;

INSERT INTO llmstream_generation
  (public_id, conversation_id, message_id, model, status, attempt, fence, provider_response_id, provider_cursor,
   finish_reason, error_code, steers, left_out, takeovers, origin, account, reserved_tokens, reserved_cost,
   first_seq, end_seq, created_at, started_at, first_token_at, ended_at)
SELECT substr(md5('g' || m.id), 1, 22), m.conversation_id, m.id, CASE WHEN m.id % 5 = 0 THEN 'tour' ELSE 'scripted' END,
  CASE WHEN m.id % 50 = 0 THEN 'failed' WHEN m.id % 77 = 0 THEN 'interrupted' WHEN m.id % 31 = 0 THEN 'stopped'
    ELSE 'completed' END,
  1, 1, '', '', 'stop', CASE WHEN m.id % 50 = 0 THEN 'provider_timeout' ELSE '' END, 0, 0, 0, '', '', 0, 0,
  m.first_seq - 10, m.end_seq, m.created_at, m.created_at, m.created_at + interval '0.3 second',
  m.created_at + interval '5 second'
FROM llmstream_message m WHERE role = 'assistant';

INSERT INTO llmstream_usagerecord
  (generation_id, conversation_id, user_id, account, model, input_tokens, output_tokens, reasoning_tokens,
   cached_tokens, cache_write_tokens, cost, estimated, created_at)
SELECT g.id, g.conversation_id, c.owner_id, '', g.model, 100 + g.id % 900, 50 + g.id % 300, 0, 0, 0,
  CASE WHEN g.id % 7 = 0 THEN NULL ELSE 0.0001 * (g.id % 100) END, g.id % 9 = 0, g.created_at
FROM llmstream_generation g JOIN llmstream_conversation c ON c.id = g.conversation_id;

INSERT INTO llmstream_feedback (message_id, user_id, anonymous_id, rating, comment, created_at, updated_at)
SELECT m.id, c.owner_id, '', CASE WHEN m.id % 20 = 0 THEN 'down' ELSE 'up' END, '', m.created_at, m.created_at
FROM llmstream_message m JOIN llmstream_conversation c ON c.id = m.conversation_id
WHERE m.role = 'assistant' AND m.id % 10 = 0;

INSERT INTO llmstream_event (conversation_id, seq, generation_id, type, data, created_at)
SELECT c.id, s, NULL,
  CASE WHEN s % 20 = 0 THEN 'message-end' WHEN s % 20 = 1 THEN 'message-created' ELSE 'text-delta' END,
  '{"type": "text-delta", "delta": "Hello world and more"}', c.created_at + s * interval '0.1 second'
FROM llmstream_conversation c, generate_series(1, 200) s;

ANALYZE
