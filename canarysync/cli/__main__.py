from canarysync.cli import main

main()
