//! The words of a study as types, its configuration, its folders and its store.
