//! The source against real git: repositories made by git, served by its own http backend.

mod clones;
mod cloning;
mod large;
mod modes;
mod paths;
mod serving;
mod world;
