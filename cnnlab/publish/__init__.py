"""Running and publishing the lessons: pages, slides, site, doctor."""
