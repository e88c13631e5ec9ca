-- Rows of `history` up to the id in meta 'remote_sent' are in Supabase unless their `sync` says otherwise: a batch that
-- arrived whole moves that mark, instead of rewriting each of its rows with all its text. `sync` has a state more:
-- 0 to send, or there when not beyond the mark; 1 in flight, 2 there, 3 parked, 4 came from there (import),
-- 5 to send although the mark is beyond it.
CREATE INDEX history_again ON history (id) WHERE sync IN (1, 5);
