from manual import PAGE, page

PAGE.write_text(page(), encoding="utf-8")
