-- Newer projects grant nothing on new tables, not even to the service role; the bot's secret key is that role.

grant usage on schema public to service_role;
grant select, insert, update, delete on public.chat_history, public.user_registry to service_role;
grant usage, select on all sequences in schema public to service_role;

-- Advised once no old bot uses the anon key any more: without a policy nobody but the service role sees a row.
-- alter table public.chat_history  enable row level security;
-- alter table public.user_registry enable row level security;

notify pgrst, 'reload schema';
