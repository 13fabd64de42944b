mtvg: ./pf: No such file or directory
