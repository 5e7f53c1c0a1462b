//! An event loop over mio with generations, budgets, timers and a simulated operating system.
#![forbid(unsafe_code)]
