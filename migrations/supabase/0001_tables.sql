-- The two tables as the earlier versions have them. Nothing here changes tables that exist; svs-bot works with those
-- unchanged. For the SQL editor of a new project, or `psql -f`.

create table if not exists public.chat_history (
  id            bigserial primary key,
  chat_id       bigint not null,
  user_id       bigint not null,
  username      varchar(255),
  message_text  text,
  response_text text,
  model_used    varchar(100),
  metadata      jsonb default '{}',
  created_at    timestamp default now()
);
create index if not exists chat_history_user_id_idx    on public.chat_history (user_id);
create index if not exists chat_history_chat_id_idx    on public.chat_history (chat_id);
create index if not exists chat_history_created_at_idx on public.chat_history (created_at desc);

create table if not exists public.user_registry (
  id                   bigserial primary key,
  user_id              bigint not null,
  username             varchar(255),
  first_name           varchar(255),
  chat_id              bigint not null,
  triggered_by_keyword varchar(100),
  trigger_count        integer default 1,
  last_triggered_at    timestamp default now(),
  created_at           timestamp default now(),
  unique (user_id, chat_id)
);
create index if not exists user_registry_user_id_idx on public.user_registry (user_id);
create index if not exists user_registry_chat_id_idx on public.user_registry (chat_id);
