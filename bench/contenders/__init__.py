"""Who is measured. Each contender is programs to start; what they run is in the modules beside this one."""
