-- Each mart counts every story once that can be counted, and every article stands in one story.
{{ config(group="news") }}

with

stories as (
    select
        count(*) as story_count,
        countif(published_at is not null) as dated_story_count,
        countif(first_seen_at is not null) as seen_story_count,
        coalesce(sum(article_count), 0) as article_count,
    from {{ ref('news_stories') }}
    where uncounted_reason is null
),

by_day as (
    select
        coalesce(sum(story_count), 0) as daily_story_count,
        coalesce(sum(article_count), 0) as daily_article_count,
    from {{ ref('daily_news_by_source_and_category') }}
),

by_hour as (
    select coalesce(sum(story_count), 0) as hourly_story_count,
    from {{ ref('news_by_hour_of_day') }}
),

by_listing as (
    select coalesce(sum(story_count), 0) as listed_story_count,
    from {{ ref('daily_news_listing_times') }}
),

compared as (
    select
        stories.story_count,
        stories.dated_story_count,
        stories.seen_story_count,
        stories.article_count,
        by_day.daily_story_count,
        by_day.daily_article_count,
        by_hour.hourly_story_count,
        by_listing.listed_story_count,
    from stories
    cross join by_day
    cross join by_hour
    cross join by_listing
)

select *
from compared
where
    story_count != daily_story_count
    or article_count != daily_article_count
    or dated_story_count != hourly_story_count
    or seen_story_count != listed_story_count
