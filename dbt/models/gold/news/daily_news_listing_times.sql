{{ config(tags=['once_a_day']) }}

with

stories as (
    select * from {{ ref('news_stories') }}
    where first_seen_at is not null and uncounted_reason is null
),

final as (
    select
        date(first_seen_at, 'Asia/Manila') as first_seen_date_manila,
        source_site,
        count(*) as story_count,
        countif(listed_hours = 0) as seen_once_story_count,
        countif(listed_hours > 0 and listed_hours < 24) as listed_under_a_day_story_count,
        countif(listed_hours >= 24) as listed_a_day_or_more_story_count,
        {{ exact_average('listed_hours') }} as average_listed_hours,
        max(listed_hours) as longest_listed_hours,
    from stories
    group by first_seen_date_manila, source_site
)

select * from final
