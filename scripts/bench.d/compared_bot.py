"""A bot as a Python author would write it, for comparison alone: python-telegram-bot and google-genai.

It answers private messages with the model, remembers ten rounds of each chat in memory, takes the keys in
turn, and lets different chats be answered at once. It keeps nothing on disk and synchronises nothing, so
whatever it is measured at is less than a bot that does our work would need.
"""

import collections
import itertools
import logging
import os

from google import genai
from google.genai import types
from telegram.ext import ApplicationBuilder, MessageHandler, filters

ROUNDS = 10
MODEL = "gemini-3.5-flash-lite"

clients = itertools.cycle([
    genai.Client(api_key=key, http_options=types.HttpOptions(base_url=os.environ["GEMINI_API_URL"]))
    for key in os.environ["KEYS"].split(",")
])
memory = collections.defaultdict(lambda: collections.deque(maxlen=2 * ROUNDS))


async def answer(update, context):
    told = memory[update.effective_chat.id]
    told.append(types.Content(role="user", parts=[types.Part(text=update.message.text)]))
    await context.bot.send_chat_action(update.effective_chat.id, "typing")
    reply = await next(clients).aio.models.generate_content(model=MODEL, contents=list(told))
    told.append(types.Content(role="model", parts=[types.Part(text=reply.text)]))
    await update.message.reply_text(reply.text)


def main():
    logging.basicConfig(level=logging.WARNING)
    application = (
        ApplicationBuilder()
        .token(os.environ["TELEGRAM_BOT_TOKEN"])
        .base_url(f"{os.environ['TELEGRAM_API_URL']}/bot")
        .concurrent_updates(64)
        .connection_pool_size(64)
        .pool_timeout(60)
        .build()
    )
    application.add_handler(MessageHandler(filters.TEXT & ~filters.COMMAND, answer))
    application.run_polling()


if __name__ == "__main__":
    main()
