#!/usr/bin/env python3
"""python-telegram-bot as a witness: an ordinary client works against the stand-in unchanged.

Needs: pip install python-telegram-bot
"""

import asyncio
import sys

import telegram
from standin import TOKEN, StandIn, post


async def use(standin):
    bot = telegram.Bot(
        TOKEN, base_url=f"{standin.telegram}/bot", base_file_url=f"{standin.telegram}/file/bot"
    )
    async with bot:
        assert bot.username == "standin_bot", bot.username
        control = f"{standin.telegram}/control"
        post(f"{control}/text", {"chat": 42, "user": 42, "text": "/start@standin_bot 😀"})
        (update,) = await bot.get_updates(timeout=5, allowed_updates=["message"])
        message = update.message
        assert message.parse_entities(["bot_command"]), message.entities
        assert not await bot.get_updates(offset=update.update_id + 1)

        sent = await message.reply_text("<b>bold</b> <i>it</i>", parse_mode="HTML", do_quote=True)
        assert [entity.type for entity in sent.entities] == ["bold", "italic"]
        assert sent.reply_to_message.message_id == message.message_id
        edited = await sent.edit_text("plain")
        assert edited.text == "plain" and edited.edit_date
        await refused(sent.edit_text("plain"), "Message is not modified")
        await refused(bot.send_message(42, "<b>x", parse_mode="HTML"), "Can't parse entities")
        await refused(bot.send_message(43, "x"), "Chat not found")
        await refused(bot.send_message(42, "x" * 4097), "Message is too long")

        document = await bot.send_document(42, b"some bytes", filename="a.txt", caption="c")
        file = await bot.get_file(document.document.file_id)
        assert bytes(await file.download_as_bytearray()) == b"some bytes"

        commands = [telegram.BotCommand("help", "What I can do")]
        scope = telegram.BotCommandScopeAllPrivateChats()
        await bot.set_my_commands(commands, scope=scope, language_code="en")
        assert list(await bot.get_my_commands(scope=scope, language_code="en")) == commands
        assert not await bot.get_my_commands()

        chat = await bot.get_chat(42)
        assert chat.type == "private"
        assert await bot.send_chat_action(42, "typing")
        assert await sent.delete()
        post(f"{control}/fault", {"method": "sendMessage", "flood": 7})
        try:
            await bot.send_message(42, "x")
            raise AssertionError("no flood")
        except telegram.error.RetryAfter as error:
            assert int(error.retry_after if isinstance(error.retry_after, (int, float))
                       else error.retry_after.total_seconds()) == 7
        post(f"{control}/chat", {"id": 42, "forbidden": "bot was blocked by the user"})
        try:
            await bot.send_message(42, "x")
            raise AssertionError("not blocked")
        except telegram.error.Forbidden:
            pass
        post(f"{control}/chat", {"id": -5, "migrated_to": -1005})
        try:
            await bot.send_message(-5, "x")
            raise AssertionError("not migrated")
        except telegram.error.ChatMigrated as error:
            assert error.new_chat_id == -1005

        # Two pollers: the older one is told.
        other = telegram.Bot(TOKEN, base_url=f"{standin.telegram}/bot")
        older = asyncio.create_task(other.get_updates(offset=update.update_id + 1, timeout=20))
        await asyncio.sleep(0.3)
        newer = asyncio.create_task(bot.get_updates(offset=update.update_id + 1, timeout=4))
        try:
            await older
            raise AssertionError("no conflict")
        except telegram.error.Conflict:
            pass
        post(f"{control}/text", {"chat": 42, "user": 42, "text": "wake"})
        assert (await newer)[0].message.text == "wake"
        await other.shutdown()


async def refused(call, words):
    try:
        await call
    except telegram.error.BadRequest as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"not refused: {words}")


def main():
    with StandIn() as standin:
        asyncio.run(use(standin))
    print("client: python-telegram-bot", telegram.__version__, "works against the stand-in")


if __name__ == "__main__":
    sys.exit(main())
